-- The tables of the CF-X contract in `public`, and in `cfx`, which no API exposes, what only cfx itself reads.
-- 0004_access.sql says who may read what; until then nobody but the owner is meant to.
--
-- Days are UTC days. Counts are bigint, so that every 32-bit count of the program fits without a case. Money is whole
-- billionths of a US dollar, so that sums are exact; `cost_usd` is the same figure for eyes.

create table cfx.accounts (
    id             uuid primary key,
    email          text not null unique,
    created_at     timestamptz not null default now(),
    disabled_at    timestamptz,
    -- Requests per day; null: as configured.
    daily_requests bigint
);

-- Who is signed in to the dashboard. The token is random and opaque; here stands its SHA-256 alone.
create table cfx.sessions (
    token_hash bytea primary key,
    user_id    uuid not null references cfx.accounts (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index sessions_user on cfx.sessions (user_id);
create index sessions_expires on cfx.sessions (expires_at);

create table public.api_keys (
    id             uuid primary key default gen_random_uuid(),
    user_id        uuid not null references cfx.accounts (id),
    public_id      text not null unique,
    prefix         text not null,
    -- HMAC-SHA256 under the pepper, hexadecimal. The key itself is nowhere.
    key_hash       text not null,
    label          text not null,
    status         text not null default 'active' check (status in ('active', 'revoked')),
    -- Null: all.
    stages         text[],
    models         text[],
    daily_requests bigint,
    created_at     timestamptz not null default now(),
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz,
    -- The key that this one was made to replace.
    replaces       uuid references public.api_keys (id) on delete set null,
    -- A key that has been replaced stays valid until then. Null: no end of this kind.
    retires_at     timestamptz
) with (fillfactor = 90); -- last_used_at changes often: room for the new version on the same page
create index api_keys_user on public.api_keys (user_id, created_at);
create index api_keys_replaces on public.api_keys (replaces) where replaces is not null;

-- `request_count` is what was admitted; `leased` is set aside for edges and not used yet. The sums are of the rows of
-- `request_logs` created on that day, kept in the transaction that writes them: today and this month are one read.
create table public.usage_counters (
    id            uuid primary key default gen_random_uuid(),
    user_id       uuid not null,
    day           date not null,
    request_count bigint not null default 0,
    leased        bigint not null default 0,
    -- Rows whose status is `success`.
    answered      bigint not null default 0,
    input_tokens  bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_nano_usd bigint not null default 0,
    updated_at    timestamptz not null default now(),
    unique (user_id, day)
) with (fillfactor = 50); -- every grant rewrites a row, none touches an index

-- The same for keys with a quota of their own.
create table cfx.key_counters (
    id            uuid primary key default gen_random_uuid(),
    key_id        uuid not null,
    day           date not null,
    request_count bigint not null default 0,
    leased        bigint not null default 0,
    updated_at    timestamptz not null default now(),
    unique (key_id, day)
) with (fillfactor = 50);

-- One process with its data folder; alive while `seen_at` is fresh.
create table cfx.edges (
    id         uuid primary key,
    seen_at    timestamptz not null default now()
);

-- `used` is what the edge has reported so far.
create table cfx.quota_leases (
    id         uuid primary key,
    edge       uuid not null,
    user_id    uuid,
    key_id     uuid,
    day        date not null,
    granted    bigint not null,
    used       bigint not null default 0,
    granted_at timestamptz not null default now(),
    check ((user_id is null) <> (key_id is null))
) with (fillfactor = 70);
create index quota_leases_edge on cfx.quota_leases (edge);
-- One tree for both kinds of subject: they are drawn from the same space of ids.
create index quota_leases_subject on cfx.quota_leases (coalesce(user_id, key_id), day);

-- Releases and posts already applied, so that one sent again changes nothing.
create table cfx.quota_postings (
    id  uuid primary key,
    day date not null
);
create index quota_postings_day on cfx.quota_postings (day);

-- What every edge of one database must agree on, such as the fingerprint of the pepper.
create table cfx.settings (
    name       text primary key,
    value      text not null,
    updated_at timestamptz not null default now()
);

-- One row for every admitted request, by month. No foreign keys: the account of a request outlives the user and the
-- key. No check on `stage`: a stage added later is not a reason to refuse a row.
--
-- `request_id` is a UUIDv7, so that its tree grows at the right edge. A row sent again must carry the `created_at` it
-- had, because the key of a partitioned table holds the column it is divided by.
create table public.request_logs (
    id                  uuid generated always as (request_id) stored,
    user_id             uuid not null,
    api_key_id          uuid not null,
    request_id          uuid not null,
    created_at          timestamptz not null,
    cost_nano_usd       bigint not null,
    body_bytes          bigint not null,
    latency_ms          bigint not null,
    ttft_ms             bigint,
    input_tokens        bigint,
    cached_input_tokens bigint,
    cache_write_tokens  bigint,
    output_tokens       bigint,
    reasoning_tokens    bigint,
    total_tokens        bigint,
    http_status         integer not null,
    attempts            integer not null,
    stream              boolean not null,
    estimated           boolean not null,
    status              text not null,
    stage               text,
    stage_source        text,
    model               text,
    session_id          text,
    error_message       text,
    cost_usd            numeric(18, 9) generated always as (cost_nano_usd * 0.000000001) stored,
    primary key (request_id, created_at)
) partition by range (created_at);

-- One tree for every question about a user: the newest page, the same by stage, model or status, which are judged
-- in the tree without a look at the rows, and the month's sums, which are all in it.
create index request_logs_user on public.request_logs (user_id, created_at, stage, model, status)
    include (input_tokens, output_tokens, cost_nano_usd);
-- A span of time over all users. A few pages a month, and next to nothing to keep.
create index request_logs_time on public.request_logs using brin (created_at) with (autosummarize = on);
