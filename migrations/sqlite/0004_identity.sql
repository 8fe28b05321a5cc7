-- How people sign in: what they may do, their passwords, who is signed in, and links that work once.

alter table accounts add column role text not null default 'member' check (role in ('member', 'operator'));

create table passwords (
    user_id    text primary key references accounts (id) on delete cascade,
    -- Argon2id in the PHC string format, salt included.
    hash       text not null,
    changed_at text not null
) without rowid;

-- Tokens are random and opaque; here and below stands their SHA-256 alone.
create table sessions (
    token_hash blob primary key,
    user_id    text not null references accounts (id) on delete cascade,
    -- When this token was made, and when its user signed in: a refresh makes a new one.
    created_at text not null,
    began_at   text not null,
    expires_at text not null
) without rowid;
create index sessions_user on sessions (user_id);
create index sessions_expires on sessions (expires_at);

-- With a user: signs in to that account. Without: an invitation to make one with this role, under this address where
-- one is named.
create table links (
    token_hash blob primary key,
    user_id    text references accounts (id) on delete cascade,
    email      text,
    role       text check (role in ('member', 'operator')),
    created_at text not null,
    expires_at text not null,
    check ((user_id is null) = (role is not null)),
    check (user_id is null or email is null)
) without rowid;
create index links_expires on links (expires_at);
