//! Requests as files.

use serde_json::Value;

use super::start;

#[tokio::test]
async fn a_file_has_every_row_that_passes() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log_many(ada.id, 0..2_500, |ago, row| row.session_id = (ago % 2 == 0).then(|| "even".to_owned())).await;
    let file = harness.get("/api/logs/export").by(&ada).send().await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"cfx-logs-2026-01-31.csv\"");
    let text = file.text();
    assert_eq!(text.lines().count(), 2_501);
    let columns = text.lines().next().unwrap().split(',').count();
    assert!(text.lines().all(|line| line.split(',').count() == columns));
    let ids: std::collections::HashSet<_> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids.len(), 2_501, "none twice");

    let lines = harness.get("/api/logs/export?format=jsonl&session=even").by(&ada).send().await;
    assert_eq!(lines.header("content-type"), "application/jsonl");
    let text = lines.text();
    assert_eq!(text.lines().count(), 1_250);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["session_id"] == "even"));
    // As many as are read at once, so that the next page is empty.
    let exact = harness.get("/api/logs/export?until=2026-01-31T11:53:46Z").by(&ada).send().await;
    assert!(exact.whole);
    assert_eq!(exact.text().lines().count(), 1_001);
}

#[tokio::test]
async fn what_a_spreadsheet_would_run_is_defused() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 1, |row| row.session_id = Some("=cmd|'/c calc'!A1".to_owned())).await;
    harness.log(ada.id, 2, |row| row.session_id = Some("@sum(1,\"2\")".to_owned())).await;
    let text = harness.get("/api/logs/export").by(&ada).send().await.text();
    assert!(text.contains(",'=cmd|'/c calc'!A1,"), "{text}");
    assert!(text.contains(",\"'@sum(1,\"\"2\"\")\","), "{text}");
}
