-- Edges that share this file for a while (one takes over from another), keys that follow one another, and settings.

-- `seen_at`: seconds since 1970, by the clock of the machine, which all of them run on.
create table quota_edges (
    edge    text primary key,
    seen_at integer not null
) without rowid;

create index quota_leases_edge on quota_leases (edge);

-- The first key of those that followed one another; null: the key itself. All of them run on its daily counter.
alter table api_keys add column replaces text;
-- When a key that was replaced ends by itself; null: it was not replaced.
alter table api_keys add column retires_at text;

create table settings (
    name  text primary key,
    value text not null
) without rowid;
