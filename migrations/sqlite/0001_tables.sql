-- The tables of the CF-X contract in their embedded form.
--
-- Times are RFC 3339 text in UTC with microseconds, days are ISO dates, ids are UUIDs as text: all sort as they
-- read, and a person with `sqlite3` in hand can read them. Money is whole billionths of a US dollar, so that sums
-- are exact; `cost_usd` is the same figure for eyes.

create table accounts (
    id             text primary key,
    email          text not null unique,
    created_at     text not null,
    disabled_at    text,
    -- Requests per UTC day; null: as configured.
    daily_requests integer
) without rowid;

create table api_keys (
    id             text primary key,
    user_id        text not null references accounts (id),
    public_id      text not null unique,
    prefix         text not null,
    -- HMAC-SHA256 under the pepper, hexadecimal. The key itself is nowhere.
    key_hash       text not null,
    label          text not null,
    status         text not null default 'active' check (status in ('active', 'revoked')),
    -- JSON arrays; null: all.
    stages         text,
    models         text,
    daily_requests integer,
    created_at     text not null,
    expires_at     text,
    revoked_at     text,
    last_used_at   text
);
create index api_keys_user on api_keys (user_id, created_at);

-- `request_count` is what was admitted; `leased` is set aside for edges and not used yet.
create table usage_counters (
    id            integer primary key,
    user_id       text not null,
    day           text not null,
    request_count integer not null default 0,
    leased        integer not null default 0,
    updated_at    text not null,
    unique (user_id, day)
);

-- The same for keys with a quota of their own.
create table key_counters (
    id            integer primary key,
    key_id        text not null,
    day           text not null,
    request_count integer not null default 0,
    leased        integer not null default 0,
    updated_at    text not null,
    unique (key_id, day)
);

-- Exactly one of user_id and key_id is set. `used` is what the edge has reported so far.
create table quota_leases (
    id      text primary key,
    edge    text not null,
    user_id text,
    key_id  text,
    day     text not null,
    granted integer not null,
    used    integer not null default 0
) without rowid;

-- Releases and posts already applied, so that one sent again changes nothing.
create table quota_postings (
    id  text primary key,
    day text not null
) without rowid;
create index quota_postings_day on quota_postings (day);

-- No foreign keys: the account of a request outlives the user and the key. One tree holds everything: a user's rows
-- lie together, in the order of their time, because a request's id begins with it. What is asked is asked of a user; a
-- second tree would double what each request costs.
create table request_logs (
    id                  text generated always as (request_id) virtual,
    user_id             text not null,
    api_key_id          text not null,
    request_id          text not null,
    session_id          text,
    stage               text,
    stage_source        text,
    model               text,
    stream              integer not null,
    body_bytes          integer not null,
    input_tokens        integer,
    cached_input_tokens integer,
    cache_write_tokens  integer,
    output_tokens       integer,
    reasoning_tokens    integer,
    total_tokens        integer,
    estimated           integer not null,
    cost_nano_usd       integer not null,
    cost_usd            real generated always as (cost_nano_usd / 1e9) virtual,
    latency_ms          integer not null,
    ttft_ms             integer,
    attempts            integer not null,
    status              text not null,
    http_status         integer not null,
    error_message       text,
    created_at          text not null,
    primary key (user_id, request_id)
) without rowid;
