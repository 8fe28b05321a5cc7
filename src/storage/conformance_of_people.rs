//! What every adapter must do with accounts, their passwords, who is signed in, and links that work once.

use futures_util::future::join_all;
use uuid::Uuid;

use crate::identity::{
    Account, AccountStore, Change, Email, Link, LinkStore, LinkToken, PasswordHash, Purpose, Renewal, Role, Session,
    SessionStore, SessionToken, Shown,
};
use crate::storage::conformance::NOON;
use crate::units::{Timestamp, UserId};

const HOUR: i64 = 3_600_000_000;

/// A change, and what it is to make of an account.
type Step = (Change, fn(&mut Account));

fn named(email: &str) -> Account {
    Account::new(Email::parse(email).unwrap(), NOON)
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::stored(text.to_owned())
}

fn after(hours: i64) -> Timestamp {
    Timestamp(NOON.0 + hours * HOUR)
}

/// One that began at noon and holds for an hour.
fn session(user: UserId) -> Session {
    let token_hash = SessionToken::mint().unwrap().hash();
    Session { token_hash, user, created_at: NOON, began_at: NOON, expires_at: after(1) }
}

pub(super) async fn accounts<S: AccountStore>(store: &S) {
    let ada = named("ada@example.org");
    assert_eq!(store.find(&ada.email).await.unwrap(), None);
    assert_eq!(store.by_id(ada.id).await.unwrap(), None);
    assert!(store.create(ada.clone(), None).await.unwrap());
    assert!(!store.create(named("ada@example.org"), Some(hash("x"))).await.unwrap(), "the address is taken");
    assert!(!store.create(Account { id: ada.id, ..named("eve@example.org") }, None).await.unwrap(), "the id is taken");
    let bob =
        Account { role: Role::Operator, disabled_at: Some(NOON), daily_requests: Some(7), ..named("bob@example.org") };
    assert!(store.create(bob.clone(), Some(hash("secret of bob"))).await.unwrap());
    assert_eq!(store.find(&ada.email).await.unwrap().as_ref(), Some(&ada));
    assert_eq!(store.by_id(bob.id).await.unwrap().as_ref(), Some(&bob));
    assert_eq!(store.list().await.unwrap(), [ada.clone(), bob.clone()]);
    assert_eq!(store.password(bob.id).await.unwrap(), Some(hash("secret of bob")));
    assert_eq!(store.password(ada.id).await.unwrap(), None);
    assert_eq!(store.password(UserId(Uuid::new_v4())).await.unwrap(), None);
    what_is_changed_of_an_account_leaves_the_rest(store, ada).await;
}

async fn what_is_changed_of_an_account_leaves_the_rest<S: AccountStore>(store: &S, mut account: Account) {
    let steps: [Step; 6] = [
        (Change { daily_requests: Some(Some(9)), ..Change::default() }, |account| account.daily_requests = Some(9)),
        (Change { role: Some(Role::Operator), ..Change::default() }, |account| account.role = Role::Operator),
        (Change::default(), |_| {}),
        (Change { disabled_at: Some(Some(NOON)), ..Change::default() }, |account| account.disabled_at = Some(NOON)),
        (Change { disabled_at: Some(None), ..Change::default() }, |account| account.disabled_at = None),
        (Change { daily_requests: Some(None), ..Change::default() }, |account| account.daily_requests = None),
    ];
    for (change, meant) in steps {
        meant(&mut account);
        assert!(store.change(account.id, change).await.unwrap());
        assert_eq!(store.by_id(account.id).await.unwrap().as_ref(), Some(&account), "{change:?}");
    }
    assert!(!store.change(UserId(Uuid::new_v4()), Change::default()).await.unwrap(), "nobody there");
}

pub(super) async fn sessions<S: SessionStore + AccountStore>(store: &S) {
    let carol = named("carol@example.org");
    assert!(store.create(carol.clone(), None).await.unwrap());
    let first = session(carol.id);
    assert_eq!(store.signed(first.token_hash, NOON).await.unwrap(), None);
    store.open(first.clone()).await.unwrap();
    let signed = store.signed(first.token_hash, NOON).await.unwrap().unwrap();
    assert_eq!((signed.account, signed.session), (carol.clone(), first.clone()));
    assert_eq!(store.signed(first.token_hash, after(1)).await.unwrap(), None, "it is over at its end");

    let second = Session { created_at: Timestamp(NOON.0 + 5), expires_at: after(2), ..session(carol.id) };
    let renewal = |session| Renewal { session, salt: [7; 32] };
    assert!(store.replace(first.token_hash, renewal(second.clone())).await.unwrap());
    assert!(!store.replace(first.token_hash, renewal(session(carol.id))).await.unwrap(), "it was replaced already");
    let found = store.signed(second.token_hash, after(1)).await.unwrap().unwrap();
    assert_eq!((found.session, found.shown), (second.clone(), Shown::Present(Some(after(1)))));
    the_token_before_holds_until_the_new_one_has_arrived(store, &first, &second).await;
    let late = Session { created_at: after(2), expires_at: after(9), ..session(carol.id) };
    assert!(!store.replace(second.token_hash, renewal(late)).await.unwrap(), "what is over is not refreshed");
    let elses = session(UserId(Uuid::new_v4()));
    assert!(!store.replace(second.token_hash, renewal(elses)).await.unwrap(), "nor handed to another");
    assert!(store.end(second.token_hash).await.unwrap());
    assert!(!store.end(second.token_hash).await.unwrap());
    assert_eq!(store.signed(second.token_hash, NOON).await.unwrap(), None);
    a_disabled_account_and_a_new_password_end_sessions(store, carol.id).await;
    many_who_refresh_at_once_have_one_session(store, carol.id).await;
}

async fn the_token_before_holds_until_the_new_one_has_arrived<S: SessionStore>(
    store: &S,
    first: &Session,
    second: &Session,
) {
    let before = async |at: Timestamp| store.signed(first.token_hash, at).await.unwrap();
    let found = before(NOON).await.unwrap();
    let told = Session { created_at: second.began_at, expires_at: after(1), ..second.clone() };
    assert_eq!((found.session, found.shown), (told, Shown::Before([7; 32])), "it leads to the other");
    assert_eq!(before(after(1)).await, None, "it is over when it would have been");
    let moment = |seconds: i64| Timestamp(NOON.0 + seconds * 1_000_000);
    for until in [moment(30), moment(60)] {
        store.arrived(second.token_hash, until).await.unwrap();
        let found = before(moment(29)).await.unwrap();
        assert_eq!(found.session.expires_at, moment(30), "what has arrived once does not take it back");
        assert_eq!(before(moment(30)).await, None);
    }
    store.arrived(first.token_hash, moment(1)).await.unwrap();
    assert!(before(moment(29)).await.is_some(), "it is not the one that has arrived");

    let [long, short] = [(); 2].map(|()| session(second.user));
    let short = Session { expires_at: moment(5), ..short };
    store.open(long.clone()).await.unwrap();
    assert!(store.replace(long.token_hash, Renewal { session: short.clone(), salt: [1; 32] }).await.unwrap());
    assert!(store.signed(long.token_hash, moment(4)).await.unwrap().is_some());
    assert_eq!(store.signed(long.token_hash, moment(5)).await.unwrap(), None, "the one in its place is over");
    assert!(store.end(short.token_hash).await.unwrap());

    // By either it ends, and a third leaves nothing of the first.
    for (by_old, third) in [(true, false), (false, false), (false, true)] {
        let [old, new, newest] = [(); 3].map(|()| session(second.user));
        let renewal = |session: &Session| Renewal { session: session.clone(), salt: [1; 32] };
        store.open(old.clone()).await.unwrap();
        assert!(store.replace(old.token_hash, renewal(&new)).await.unwrap());
        if third {
            assert!(store.replace(new.token_hash, renewal(&newest)).await.unwrap());
            assert_eq!(store.signed(old.token_hash, NOON).await.unwrap(), None);
            assert!(store.signed(new.token_hash, NOON).await.unwrap().is_some());
        }
        let by = if by_old { &old } else { &new };
        assert!(store.end(by.token_hash).await.unwrap());
        for gone in [&old, &new, &newest] {
            assert_eq!(store.signed(gone.token_hash, NOON).await.unwrap(), None);
        }
    }
}

async fn a_disabled_account_and_a_new_password_end_sessions<S: SessionStore + AccountStore>(store: &S, user: UserId) {
    let [kept, other, third] = [session(user), session(user), session(user)];
    for session in [&kept, &other] {
        store.open(session.clone()).await.unwrap();
    }
    assert!(store.set_password(user, hash("new"), Some(kept.token_hash)).await.unwrap());
    assert_eq!(store.password(user).await.unwrap(), Some(hash("new")));
    assert!(store.signed(kept.token_hash, NOON).await.unwrap().is_some());
    assert_eq!(store.signed(other.token_hash, NOON).await.unwrap(), None);
    assert!(store.set_password(user, hash("newer"), None).await.unwrap());
    assert_eq!(store.signed(kept.token_hash, NOON).await.unwrap(), None);
    assert_eq!(store.password(user).await.unwrap(), Some(hash("newer")));
    assert!(!store.set_password(UserId(Uuid::new_v4()), hash("x"), None).await.unwrap(), "nobody there");

    let (before, now) = (session(user), session(user));
    store.open(before.clone()).await.unwrap();
    assert!(store.replace(before.token_hash, Renewal { session: now.clone(), salt: [3; 32] }).await.unwrap());
    assert!(store.set_password(user, hash("newest"), Some(before.token_hash)).await.unwrap());
    assert!(store.signed(now.token_hash, NOON).await.unwrap().is_some(), "renewed while a password was set with it");
    assert!(store.set_password(user, hash("newest"), None).await.unwrap());
    assert_eq!(store.signed(now.token_hash, NOON).await.unwrap(), None);

    store.open(kept.clone()).await.unwrap();
    let disabled = Change { disabled_at: Some(Some(NOON)), ..Change::default() };
    assert!(store.change(user, disabled).await.unwrap());
    assert_eq!(store.signed(kept.token_hash, NOON).await.unwrap(), None);
    store.open(third.clone()).await.unwrap();
    assert_eq!(store.signed(third.token_hash, NOON).await.unwrap(), None, "opened while it was being disabled");
    assert!(store.change(user, Change { disabled_at: Some(None), ..Change::default() }).await.unwrap());
    assert_eq!(store.signed(kept.token_hash, NOON).await.unwrap(), None, "what was ended stays so");
}

async fn many_who_refresh_at_once_have_one_session<S: SessionStore>(store: &S, user: UserId) {
    let old = session(user);
    store.open(old.clone()).await.unwrap();
    let replaced =
        join_all((0..8).map(|_| store.replace(old.token_hash, Renewal { session: session(user), salt: [2; 32] })))
            .await;
    assert_eq!(replaced.into_iter().filter(|replaced| *replaced.as_ref().unwrap()).count(), 1);
    // A day later: what is over is forgotten, and what holds is not.
    let later = Session { created_at: after(24), expires_at: after(25), ..session(user) };
    store.open(later.clone()).await.unwrap();
    assert!(store.signed(later.token_hash, after(24)).await.unwrap().is_some());
}

pub(super) async fn links<S: LinkStore + AccountStore>(store: &S) {
    let dora = named("dora@example.org");
    assert!(store.create(dora.clone(), None).await.unwrap());
    let purposes = [
        Purpose::SignIn(dora.id),
        Purpose::Invitation { email: None, role: Role::Member },
        Purpose::Invitation { email: Some(Email::parse("new@example.org").unwrap()), role: Role::Operator },
    ];
    for purpose in purposes {
        let token_hash = LinkToken::mint().unwrap().hash();
        assert_eq!(store.look(token_hash, NOON).await.unwrap(), None);
        store.put(Link { token_hash, purpose: purpose.clone(), created_at: NOON, expires_at: after(1) }).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.look(token_hash, NOON).await.unwrap().as_ref(), Some(&purpose), "it stays");
        }
        assert_eq!(store.look(token_hash, after(1)).await.unwrap(), None, "it is over at its end");
        assert_eq!(store.take(token_hash, after(1)).await.unwrap(), None);
        let taken = join_all((0..8).map(|_| store.take(token_hash, NOON))).await;
        let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(taken, [purpose], "one has it");
        assert_eq!(store.look(token_hash, NOON).await.unwrap(), None);
    }
    a_disabled_account_and_a_new_password_withdraw_links(store, dora.id).await;
}

async fn a_disabled_account_and_a_new_password_withdraw_links<S: LinkStore + AccountStore>(store: &S, user: UserId) {
    let other = named("otto@example.org");
    assert!(store.create(other.clone(), None).await.unwrap());
    let put = async |purpose: Purpose| {
        let token_hash = LinkToken::mint().unwrap().hash();
        store.put(Link { token_hash, purpose, created_at: NOON, expires_at: after(1) }).await.unwrap();
        token_hash
    };
    let of_another = put(Purpose::SignIn(other.id)).await;
    let invitation = put(Purpose::Invitation { email: None, role: Role::Member }).await;

    let first = put(Purpose::SignIn(user)).await;
    assert!(store.set_password(user, hash("new"), None).await.unwrap());
    assert_eq!(store.look(first, NOON).await.unwrap(), None, "a new password");
    let second = put(Purpose::SignIn(user)).await;
    let quota = Change { daily_requests: Some(Some(3)), disabled_at: Some(None), ..Change::default() };
    assert!(store.change(user, quota).await.unwrap());
    assert!(store.look(second, NOON).await.unwrap().is_some(), "no reason to withdraw it");
    assert!(store.change(user, Change { disabled_at: Some(Some(NOON)), ..Change::default() }).await.unwrap());
    assert_eq!(store.take(second, NOON).await.unwrap(), None, "a disabled account");

    assert_eq!(store.look(of_another, NOON).await.unwrap(), Some(Purpose::SignIn(other.id)));
    assert!(store.look(invitation, NOON).await.unwrap().is_some());
}
