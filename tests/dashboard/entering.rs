//! Signing in and out: whose cookie, where to, and by which way at all.

use std::num::NonZeroU32;

use cfx::identity::SessionToken;

use crate::client::ask;
use crate::doubles::{Api, Setting, start};

const FORM: &str = "email=ada%40example.org&password=correct+horse+battery";

#[tokio::test]
async fn who_is_nobody_is_led_to_sign_in_and_back() {
    let stand = start(Setting::default()).await;
    let answer = ask(stand.address, "GET /logs?stage=plan", &[], "").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/sign-in?next=%2Flogs%3Fstage%3Dplan"));
    let page = ask(stand.address, "GET /sign-in?next=%2Flogs%3Fstage%3Dplan", &[], "").await;
    assert_eq!((page.status, page.field("next")), (200, "/logs?stage=plan"));
    let entered = ask(stand.address, "POST /sign-in", &[], &format!("{FORM}&next=%2Flogs%3Fstage%3Dplan")).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/logs?stage=plan"));
    let cookie = entered.header("set-cookie");
    assert!(cookie.starts_with(&format!("{}; Path=/; Max-Age=4", stand.cookie())), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    assert_eq!(stand.get("/logs?stage=plan").await.status, 200);
}

#[tokio::test]
async fn the_way_back_leads_to_no_other_host() {
    let stand = start(Setting::default()).await;
    for next in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example", "%2F%09%2Fevil.example"] {
        let answer = ask(stand.address, "POST /sign-in", &[], &format!("{FORM}&next={next}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{next}");
        let back = ask(stand.address, "POST /preferences", &[], &format!("theme=light&back={next}")).await;
        assert_eq!((back.status, back.header("location")), (303, "/"), "{next}");
        let known = stand.get(&format!("/sign-in?next={next}")).await;
        assert_eq!((known.status, known.header("location")), (303, "/"), "{next}");
    }
}

#[tokio::test]
async fn by_https_the_cookie_is_of_this_host_alone_and_by_plain_http_from_elsewhere_there_is_none() {
    let stand = start(Setting::default()).await;
    let secure =
        [("x-forwarded-proto", "https"), ("x-forwarded-host", "edge.example.org"), ("x-real-ip", "203.0.113.9")];
    let entered = ask(stand.address, "POST /sign-in", &secure, FORM).await;
    assert!(entered.header("set-cookie").starts_with("__Host-cfx_session=cfx_session_"));
    assert!(entered.header("set-cookie").ends_with("; HttpOnly; SameSite=Strict; Secure"));
    assert_eq!(stand.api.introduced.lock().unwrap().get("x-real-ip").unwrap(), "203.0.113.9", "whom to throttle");
    let plain = [("x-forwarded-proto", "http"), ("x-forwarded-host", "edge.example.org")];
    let called_localhost =
        [("x-forwarded-proto", "http"), ("x-forwarded-host", "localhost"), ("x-real-ip", "203.0.113.9")];
    let refused = ask(stand.address, "POST /sign-in", &called_localhost, FORM).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (403, ""), "whatever the client calls this machine");
    let here = [("x-forwarded-proto", "http"), ("x-forwarded-host", "localhost"), ("x-real-ip", "127.0.0.1")];
    let entered = ask(stand.address, "POST /sign-in", &here, FORM).await;
    assert!(entered.header("set-cookie").starts_with("cfx_session=cfx_session_"), "{}", entered.status);
    let refused = ask(stand.address, "POST /sign-in", &plain, FORM).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (403, ""));
    assert!(refused.body.contains("needs https") && !refused.body.contains("<input type=\"password\""));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown_again() {
    let stand = start(Setting::default()).await;
    let answer = ask(stand.address, "POST /sign-in", &[], "email=ada%22%3E&password=secret-of-mine").await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("do not match an account") && answer.body.contains("ada&quot;&gt;"));
    assert!(!answer.body.contains("secret-of-mine") && answer.header("set-cookie").is_empty());
}

#[tokio::test]
async fn what_supabase_has_against_it_is_said_in_the_visitors_language() {
    let stand = start(Setting::default()).await;
    for (password, status, words, in_turkish) in [
        ("unconfirmed", 403, "address is not confirmed", "doğrulanmadı"),
        ("captcha", 403, "Ask an operator for a link", "giriş bağlantısı isteyin"),
        ("away", 503, "Supabase did not answer", "giriş yapılamıyor"),
    ] {
        let form = format!("email=ada%40example.org&password={password}");
        let answer = ask(stand.address, "POST /sign-in", &[], &form).await;
        assert!(answer.status == status && answer.body.contains(words), "{} {}", answer.status, answer.body);
        let turkish = ask(stand.address, "POST /sign-in", &[("accept-language", "tr")], &form).await;
        assert!(turkish.body.contains(in_turkish), "{}", turkish.body);
    }
}

#[tokio::test]
async fn how_long_to_wait_is_said_in_the_visitors_language() {
    let stand = start(Setting::default()).await;
    let form = "email=ada%40example.org&password=too+often";
    for (language, words) in [("en", "Try again in 15 min."), ("tr", "15 dk sonra yeniden deneyin.")] {
        let answer = ask(stand.address, "POST /sign-in", &[("accept-language", language)], form).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "900"));
        assert!(answer.body.contains(words) && !answer.body.contains("own words"), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_commonest_mistakes_are_said_in_the_visitors_language() {
    let stand = start(Setting::default()).await;
    let turkish = [("accept-language", "tr")];
    for (form, words) in [
        ("email=ada%40example.org&password=short", "en az 10 karakter"),
        ("email=new%40example.org&password=long+enough+by+far", "Burada kayıt davetledir."),
        ("email=ada%40example.org&password=long+enough+by+far&invitation=cfx_link_a", "Bu davet başka bir adres için"),
    ] {
        let answer = ask(stand.address, "POST /register", &turkish, form).await;
        assert!(answer.body.contains(words) && !answer.body.contains("own words"), "{form}: {}", answer.body);
    }
    let page = ask(stand.address, "GET /register", &[], "").await;
    assert!(page.body.contains(r#"minlength="10""#), "a browser says it before anything is sent");
}

#[tokio::test]
async fn blanks_around_an_address_are_none_of_it() {
    let stand = start(Setting::default()).await;
    let entered =
        ask(stand.address, "POST /sign-in", &[], &FORM.replace("email=", "email=+").replace("org", "org+%09")).await;
    assert_eq!(entered.status, 303);
    assert_eq!(*stand.api.named.lock().unwrap(), "ada@example.org");
    let form = "email=+bob%40example.org+&password=long+enough+by+far";
    ask(stand.address, "POST /register", &[], form).await;
    assert_eq!(*stand.api.named.lock().unwrap(), "bob@example.org");
}

#[tokio::test]
async fn why_the_edge_does_not_say_who_is_signed_in_is_told() {
    let stand = start(Setting::default()).await;
    for (refusal, title) in [
        ((503, "store_unavailable", 2), "The numbers could not be read"),
        ((429, "rate_limited", 7), "Try again in 7 s."),
        ((503, "overloaded", 1), "There are too many at once."),
        ((400, "conflicting_sessions", 0), "The edge refused that"),
    ] {
        *stand.api.refuses.lock().unwrap() = Some(refusal);
        for asked in ["/", "/keys", "/account"] {
            let answer = stand.get(asked).await;
            let (status, _, wait) = refusal;
            assert_eq!((answer.status, answer.header("retry-after")), (status, &*wait.to_string()), "{asked}");
            assert!(answer.body.contains(title) && !answer.body.contains("does not answer"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_link_signs_in_whole_or_by_its_token() {
    let stand = start(Setting::default()).await;
    for link in ["cfx_link_abc", "https%3A%2F%2Fedge.example.org%2Fsign-in%2Flink%23cfx_link_abc"] {
        let answer = ask(stand.address, "POST /sign-in/link", &[], &format!("link={link}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"));
        assert!(answer.header("set-cookie").contains("cfx_session="));
    }
}

#[tokio::test]
async fn a_link_may_set_a_new_password_and_is_then_not_sent_of_itself() {
    let stand = start(Setting::default()).await;
    let plain = ask(stand.address, "GET /sign-in/link", &[], "").await;
    assert!(plain.body.contains(" data-send") && !plain.body.contains("name=\"new\""));
    assert!(!stand.get("/sign-in/link").await.body.contains(" data-send"), "somebody is signed in already");
    let led = [("sec-fetch-site", "cross-site")];
    let led = ask(stand.address, "GET /sign-in/link", &led, "").await;
    assert!(!led.body.contains(" data-send"), "another site's link, and a browser that kept its cookie back");
    let reset = ask(stand.address, "GET /sign-in/link?new-password", &[], "").await;
    assert!(!reset.body.contains(" data-send") && reset.body.contains("name=\"new\""));
    let short = ask(stand.address, "POST /sign-in/link", &[], "link=cfx_link_a&new=short").await;
    assert!(
        short.status == 400
            && short.body.contains("at least 10 characters, and")
            && short.body.contains("name=\"new\"")
    );
    let set = ask(stand.address, "POST /sign-in/link", &[], "link=cfx_link_a&new=long+enough+by+far").await;
    assert_eq!((set.status, set.header("location")), (303, "/"));
}

#[tokio::test]
async fn closed_registration_says_so() {
    let stand = start(Setting::default()).await;
    let answer = ask(stand.address, "POST /register", &[], FORM).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("Registration is closed here."));
}

#[tokio::test]
async fn signing_out_ends_the_session_and_forgets_the_cookie() {
    let stand = start(Setting::default()).await;
    let answer = stand.post("/sign-out", "").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/sign-in?said=signed_out"));
    assert!(answer.header("set-cookie").starts_with("cfx_session=; Path=/; Max-Age=0;"));
    assert!(stand.asked().contains(&"POST /api/logout".to_owned()));

    *stand.api.keeps.lock().unwrap() = Some((503, "store_unavailable", 2));
    let kept = stand.post("/sign-out", "").await;
    assert_eq!(
        (kept.status, kept.header("retry-after"), kept.header("set-cookie")),
        (503, "2", ""),
        "it is none the less one"
    );
    *stand.api.keeps.lock().unwrap() = Some((401, "invalid_session", 0));
    assert!(stand.post("/sign-out", "").await.header("set-cookie").contains("Max-Age=0"), "it was over already");
}

#[tokio::test]
async fn a_session_is_renewed_by_a_page_once_half_its_life_is_over() {
    // Half of the life that it was given, whatever that is; and not where it lasts to the end for good already.
    for (hours_left, life, ends_in, renewed) in
        [(7, 12, 700, false), (5, 12, 700, true), (2, 3, 700, false), (300, 719, 700, true), (5, 12, 5, false)]
    {
        let mut api = Api::new("member", false, hours_left);
        (api.life, api.ends_in) = (life, ends_in);
        let api = std::sync::Arc::new(api);
        let stand = start(Setting { api, ..Setting::default() }).await;
        let page = stand.get("/account").await;
        assert_eq!(page.status, 200);
        assert_eq!(!page.header("set-cookie").is_empty(), renewed, "{hours_left} h of {life} left, {ends_in} at most");
        let sent = stand.post("/keys/00000000-0000-0000-0000-000000000001/revoke", "").await;
        assert_eq!((sent.status, sent.header("set-cookie")), (303, ""), "what is sent renews nothing");
    }
}

/// It ends once the edge has seen the new one, which may not have reached the browser yet.
#[tokio::test]
async fn a_page_that_renews_a_session_asks_by_the_old_one_still() {
    let stand = start(Setting { api: Api::new("member", false, 1).into(), ..Setting::default() }).await;
    let page = stand.get("/keys").await;
    let cookie = page.header("set-cookie").split(['=', ';']).nth(1).unwrap();
    let renewed = SessionToken::parse(cookie).expect("a session in place of the old one");
    assert_eq!(page.field("csrf"), renewed.csrf(), "whatever the page sends comes with the new one");
    let shown = stand.api.shown.lock().unwrap().clone();
    assert!(shown.len() >= 3 && shown.iter().all(|token| *token == stand.api.token), "{}", shown.len());
}

#[tokio::test]
async fn pages_beyond_the_pace_say_when_to_come_again_and_ask_nobody() {
    let stand = start(Setting { pages: NonZeroU32::new(5), ..Setting::default() }).await;
    assert_eq!(ask(stand.address, "POST /sign-in", &[], FORM).await.status, 303);
    let refused = loop {
        let answer = stand.get("/connect").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.body.contains("That was too quick") && refused.body.contains(r#"href="/connect""#));
    // Each that is made asks who it is for, and what there is to connect to.
    let made = stand.asked().iter().filter(|asked| *asked == "GET /api/models").count();
    assert_eq!((stand.asked().len(), made >= 5), (2 * made, true), "what is refused asks the edge nothing");

    let made_up = format!("cfx_session={}", SessionToken::mint().unwrap().expose());
    let refused = loop {
        let answer = ask(stand.address, "GET /connect", &[("cookie", &made_up)], "").await;
        if answer.status != 303 {
            break answer;
        }
    };
    let led_away = stand.asked().len() - 2 * made;
    assert!(led_away >= 5, "sessions that nobody knows have a pace of their own");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.body.contains(r#"href="/sign-in""#));
    let page = ask(stand.address, "GET /sign-in", &[("cookie", &made_up)], "").await;
    assert_eq!(page.status, 200, "whoever wants to sign in can");
    let form = loop {
        let answer = stand.post("/keys/00000000-0000-0000-0000-000000000001/revoke", "").await;
        if answer.status != 303 {
            break answer;
        }
    };
    assert_eq!(form.status, 429);
    assert!(form.body.contains("Nothing was done") && !form.body.contains("Try again"));
    // A form that changes the password would be refused as this one is; the link's is not.
    assert!(form.body.contains("sign-in link") && !form.body.contains("hange your password"), "{}", form.body);
    let link = ask(stand.address, "POST /sign-in/link", &[("cookie", &stand.cookie())], "link=x&new=y").await;
    assert_ne!(link.status, 429);
}

#[tokio::test]
async fn a_user_has_one_pace_however_many_sessions_they_make() {
    let stand = start(Setting { pages: NonZeroU32::new(5), ..Setting::default() }).await;
    let mut from = 1..=u8::MAX;
    let refused = loop {
        // Each shows a session that this process has not seen, from an address that it has not seen either.
        let address = format!("127.0.0.{}", from.next().expect("a page was refused before"));
        let session = format!("cfx_session={}", stand.api.renew().expose());
        let answer = ask(stand.address, "GET /connect", &[("cookie", &session), ("x-real-ip", &address)], "").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.body.contains("That was too quick"), "as who is signed in: {}", refused.body);
}

#[tokio::test]
async fn two_sessions_that_differ_are_neither_of_them() {
    let stand = start(Setting::default()).await;
    let foreign = format!("cfx_session=cfx_session_{}", "x".repeat(43));
    for cookies in [format!("{}; {foreign}", stand.cookie()), format!("{foreign}; {}", stand.cookie())] {
        stand.api.asked.lock().unwrap().clear();
        let page = ask(stand.address, "GET /logs/a", &[("cookie", &cookies)], "").await;
        assert_eq!((page.status, page.header("location")), (303, "/sign-in?next=%2Flogs%2Fa"));
        let forgotten = page.headers.iter().filter(|(name, value)| name == "set-cookie" && value.contains("Max-Age=0"));
        assert_eq!(forgotten.count(), 5, "for /, /logs and /logs/a, with a slash at their end and without");
        assert_eq!(stand.api.asked.lock().unwrap().len(), 0, "and nobody is asked whose they are");
    }
}
