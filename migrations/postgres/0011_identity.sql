-- How people sign in: what they may do, their passwords, and links that work once.
--
-- A password stands apart from its account: every change of an account has all edges ask for their keys again, and
-- whoever chooses a new password has not touched a key.

alter table cfx.accounts add column role text not null default 'member' check (role in ('member', 'operator'));

-- When the user signed in; `created_at` is when this token was made, which a refresh makes anew.
alter table cfx.sessions add column began_at timestamptz not null default now();
update cfx.sessions set began_at = created_at;

create table cfx.passwords (
    user_id    uuid primary key references cfx.accounts (id) on delete cascade,
    -- Argon2id in the PHC string format, salt included.
    hash       text not null,
    changed_at timestamptz not null default now()
);
select cfx.close_table('cfx.passwords');

-- The token's SHA-256 alone. With a user: signs in to that account. Without: an invitation to make one with this role,
-- under this address where one is named.
create table cfx.links (
    token_hash bytea primary key,
    user_id    uuid references cfx.accounts (id) on delete cascade,
    email      text,
    role       text check (role in ('member', 'operator')),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    check ((user_id is null) = (role is not null)),
    check (user_id is null or email is null)
);
create index links_expires on cfx.links (expires_at);
create index links_user on cfx.links (user_id) where user_id is not null;
select cfx.close_table('cfx.links');
