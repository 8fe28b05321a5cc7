//! What was used and what was logged, of whoever asks and of nobody else.

use cfx::identity::Role;
use cfx::ledger::Status;
use cfx::units::{KeyId, NanoUsd, Stage};
use serde_json::{Value, json};
use uuid::Uuid;

use super::start;

const DAY: i64 = 86_400;

#[tokio::test]
async fn today_counts_what_the_edge_knows_best() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 60, |_| ()).await;
    harness.log(ada.id, 61, |row| row.status = Status::Error).await;
    harness.log(ada.id, 3 * DAY, |row| row.cost = NanoUsd(1_000_000_000)).await;
    harness.log(ada.id, 40 * DAY, |_| ()).await;
    let today = harness.get("/api/usage/today").by(&ada).send().await.ok(200);
    assert_eq!(
        today,
        json!({
            "day": "2026-01-31", "requests": 2, "limit": 1000, "remaining": 998, "resets_at": "2026-02-01T00:00:00Z",
            "answered": 1, "failed": 1, "input_tokens": 2000, "output_tokens": 200, "cost_usd": 0.009,
            "month_cost_usd": 1.009,
        })
    );
    *harness.edge.used_today.lock().unwrap() = Some(1_200);
    let today = harness.get("/api/usage/today").by(&ada).send().await.ok(200);
    assert_eq!((&today["requests"], &today["remaining"]), (&json!(1_200), &json!(0)));
}

#[tokio::test]
async fn use_is_told_by_day_stage_and_model() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Member).await);
    harness.log(ada.id, DAY, |row| row.cost = NanoUsd(1)).await;
    harness
        .log(ada.id, 2 * DAY, |row| {
            row.stage = Some(Stage::Code);
            row.model = Some("deepseek".to_owned());
        })
        .await;
    harness.log(ada.id, 3 * DAY, |row| row.stage = Some(Stage::Code)).await;
    harness.log(ada.id, 3 * DAY, |row| (row.stage, row.model) = (None, None)).await;
    harness.log(bob.id, DAY, |_| ()).await;
    let get = |path: &'static str| {
        let asking = harness.get(path).by(&ada);
        async move { asking.send().await.ok(200) }
    };
    let days = get("/api/usage/days?from=2026-01-28&to=2026-01-31").await;
    let of = |list: &Value, name: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|one| one[name].clone()).collect()
    };
    assert_eq!(of(&days, "day"), ["2026-01-28", "2026-01-29", "2026-01-30"]);
    assert_eq!(of(&days, "requests"), [2, 1, 1]);
    assert_eq!(of(&get("/api/usage/days?from=2026-01-29&to=2026-01-29").await, "day"), ["2026-01-29"]);
    let stages = get("/api/usage/stages").await;
    assert_eq!(of(&stages, "name"), [json!("code"), Value::Null, json!("plan")]);
    assert_eq!(of(&stages, "requests"), [2, 1, 1]);
    let models = get("/api/usage/models").await;
    assert_eq!(of(&models, "name").len(), 3);
    assert!(of(&models, "name").contains(&json!("deepseek")));
    for (query, param) in [
        ("from=2026-02-30", "from"),
        ("to=tomorrow", "to"),
        ("from=2026-01-31&to=2026-01-01", "from"),
        ("from=1970-01-01", "from"),
        ("from=2026-01-01&from=2026-01-02", "from"),
        ("since=2026-01-01", "since"),
        ("to=99999-01-01", "to"),
    ] {
        for path in ["days", "stages", "models"] {
            let answer = harness.get(&format!("/api/usage/{path}?{query}")).by(&ada).send().await;
            assert_eq!(answer.refused(400, "invalid_parameter")["error"]["param"], param, "{query}");
        }
    }
}

#[tokio::test]
async fn logs_come_page_by_page_and_none_twice() {
    let harness = start().await;
    let ada = harness.member().await;
    let written = harness.log_many(ada.id, 0..25, |_, _| ()).await;
    let mut written: Vec<String> = written.into_iter().map(|request| request.0.to_string()).collect();
    let (mut path, mut read, mut pages) = ("/api/logs?limit=10".to_owned(), Vec::new(), 0);
    loop {
        let page = harness.get(&path).by(&ada).send().await.ok(200);
        read.extend(
            page["entries"].as_array().unwrap().iter().map(|entry| entry["request_id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["next"].as_str() {
            Some(next) => path = format!("/api/logs?limit=10&before={next}"),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    read.sort();
    written.sort();
    assert_eq!(read, written);
    let exactly = harness.get("/api/logs?limit=25").by(&ada).send().await.ok(200);
    assert_eq!(exactly["next"], Value::Null);
}

#[tokio::test]
async fn logs_are_found_by_what_they_are() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 10, |row| row.stage = Some(Stage::Review)).await;
    harness.log(ada.id, 20, |row| row.model = Some("deepseek".to_owned())).await;
    harness
        .log(ada.id, 30, |row| {
            row.status = Status::Error;
            row.error = Some("upstream_error' or 1=1 --".to_owned());
        })
        .await;
    harness.log(ada.id, 40, |row| row.key = KeyId(Uuid::from_u128(8))).await;
    harness.log(ada.id, 50, |row| row.session_id = Some("a/b c".to_owned())).await;
    let ages = |query: &str| {
        let asking = harness.get(&format!("/api/logs?{query}")).by(&ada);
        async move {
            let page = asking.send().await.ok(200);
            let times = page["entries"].as_array().unwrap().iter().map(|entry| entry["created_at"].clone());
            times.map(|time| time.as_str().unwrap()[17..19].parse().unwrap()).collect::<Vec<u32>>()
        }
    };
    assert_eq!(ages("stage=review").await, [50]);
    assert_eq!(ages("model=deepseek").await, [40]);
    assert_eq!(ages("status=error").await, [30]);
    assert_eq!(ages("error=UPSTREAM_error%27+or").await, [30]);
    assert_eq!(ages("key=00000000-0000-0000-0000-000000000008").await, [20]);
    assert_eq!(ages("session=a%2Fb+c").await, [10]);
    assert_eq!(ages("from=2026-01-31T11:59:30Z&until=2026-01-31T11:59:50Z").await, [40, 30]);
    assert_eq!(ages("from=2026-01-31T14:59:40%2B03:00&model=&session=&error=&status=success").await, [50, 40]);
    assert!(ages("stage=code").await.is_empty());
}

#[tokio::test]
async fn absurd_filters_are_named() {
    let harness = start().await;
    let ada = harness.member().await;
    let long = format!("error={}", "x".repeat(257));
    for (query, param) in [
        ("stage=plans", "stage"),
        ("stage=", "stage"),
        ("from=", "from"),
        ("status=ok", "status"),
        ("key=7", "key"),
        ("key=00000000000000000000000000000008", "key"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=%2B5", "limit"),
        ("before=0", "before"),
        ("before=99999999999999999999.00000000-0000-0000-0000-000000000000", "before"),
        ("from=0", "from"),
        ("from=9999-99-99T00:00:00Z", "from"),
        ("until=-9999-01-01T00:00:00Z", "until"),
        ("from=2026-01-31T00:00:00Z&until=2026-01-30T00:00:00Z", "from"),
        ("session=a%00b", "session"),
        ("model=%0a", "model"),
        (&long, "error"),
        ("color=red", "color"),
        ("stage=plan&stage=code", "stage"),
    ] {
        let answer = harness.get(&format!("/api/logs?{query}")).by(&ada).send().await;
        assert_eq!(answer.refused(400, "invalid_parameter")["error"]["param"], param, "{query}");
    }
}

#[tokio::test]
async fn a_request_is_its_users_alone() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Operator).await);
    let request = harness.log(ada.id, 60, |row| row.error = Some("cut <script>".to_owned())).await;
    let path = format!("/api/logs/{}", request.0);
    let entry = harness.get(&path).by(&ada).send().await.ok(200);
    assert_eq!(entry["request_id"], request.0.to_string());
    assert_eq!(entry["created_at"], "2026-01-31T11:59:00.000000Z");
    assert_eq!(entry["cost_usd"], 0.0045);
    assert_eq!(entry["error"], "cut <script>");
    harness.get(&path).by(&bob).send().await.refused(404, "not_found");
    assert_eq!(harness.get("/api/logs").by(&bob).send().await.ok(200)["entries"], json!([]));
    let filtered = harness.get("/api/logs?key=00000000-0000-0000-0000-000000000007").by(&bob).send().await.ok(200);
    assert_eq!(filtered["entries"], json!([]));
}

#[tokio::test]
async fn models_and_stages_are_the_configured_ones() {
    let harness = start().await;
    let ada = harness.member().await;
    let offer = harness.get("/api/models").by(&ada).send().await.ok(200);
    let names: Vec<_> =
        offer["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["plan", "code", "review"]);
    assert_eq!(offer["direct"], false);
    let models = offer["models"].as_array().unwrap();
    let plan = models.iter().find(|model| model["alias"] == offer["stages"][0]["model"]).unwrap();
    assert!(plan["input_price"].as_f64().unwrap() > 0.0);
    assert!(!offer.to_string().contains("upstream"));
}
