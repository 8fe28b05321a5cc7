-- Leases of the daily quota, each call one statement and so one transaction.
--
-- One order of locks for everything that touches a counter: rows of `usage_counters` by user and day, then rows of
-- `cfx.key_counters` by key and day, then whatever else. A lease is only changed under the lock of its counter, so
-- that it needs none of its own. Days come as numbers counted from 1970-01-01.
--
-- Words between edges go by NOTIFY on the channel `cfx_quota`:
--
--   recall user|key UUID DAY EDGE     EDGE has run dry and asks the others for what they hold unused
--   freed  user|key UUID DAY EDGE|-   a grant had come back empty that day, and now something is free again

-- Whether a grant came back empty since something was last freed.
alter table public.usage_counters add column reached boolean not null default false;
alter table cfx.key_counters add column reached boolean not null default false;

create function cfx.say_freed(of_user uuid, of_key uuid, on_day date, by_edge uuid) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('cfx_quota', format('freed %s %s %s %s',
        case when of_user is null then 'key' else 'user' end,
        coalesce(of_user, of_key),
        on_day - date '1970-01-01',
        coalesce(by_edge::text, '-')))
$$;

-- Applies what edges report of their leases. Of leases that are not there, or no longer, nothing.
create function cfx.settle_leases(
    leases uuid[], users uuid[], keys uuid[], days integer[], used bigint[], closing boolean[]
) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    freed record;
begin
    perform from public.usage_counters as counter
    where (counter.user_id, counter.day) in (
        select said.id, date '1970-01-01' + said.day
        from unnest(users, days) as said (id, day)
        where said.id is not null)
    order by counter.user_id, counter.day
    for update;

    perform from cfx.key_counters as counter
    where (counter.key_id, counter.day) in (
        select said.id, date '1970-01-01' + said.day
        from unnest(keys, days) as said (id, day)
        where said.id is not null)
    order by counter.key_id, counter.day
    for update;

    for freed in
        with said as (
            select report.lease, max(report.used) as used, bool_or(report.closes) as closes
            from unnest(leases, used, closing) as report (lease, used, closes)
            group by report.lease
        ), known as (
            -- A report that arrives late says nothing new, and none can use more than was granted.
            select lease.id, lease.edge, lease.user_id, lease.key_id, lease.day, lease.granted, said.closes,
                   lease.used as before,
                   least(greatest(said.used, lease.used), greatest(lease.granted, lease.used)) as now
            from said
            join cfx.quota_leases as lease on lease.id = said.lease
        ), ended as (
            delete from cfx.quota_leases as lease
            using known
            where lease.id = known.id and known.closes
        ), reported as (
            update cfx.quota_leases as lease
            set used = known.now
            from known
            where lease.id = known.id and not known.closes and known.now > known.before
        ), changes as (
            select known.user_id, known.key_id, known.day,
                   (array_agg(known.edge))[1] as edge,
                   sum(known.now - known.before)::bigint as counted,
                   sum(case when known.closes then known.granted - known.before else known.now - known.before end)::bigint
                       as unleased,
                   sum(case when known.closes then known.granted - known.now else 0 end)::bigint as free
            from known
            group by known.user_id, known.key_id, known.day
        ), counted_users as (
            update public.usage_counters as counter
            set request_count = counter.request_count + changes.counted,
                leased = greatest(0, counter.leased - changes.unleased),
                reached = counter.reached and changes.free = 0,
                updated_at = now()
            from changes
            where counter.user_id = changes.user_id and counter.day = changes.day
        ), counted_keys as (
            update cfx.key_counters as counter
            set request_count = counter.request_count + changes.counted,
                leased = greatest(0, counter.leased - changes.unleased),
                reached = counter.reached and changes.free = 0,
                updated_at = now()
            from changes
            where counter.key_id = changes.key_id and counter.day = changes.day
        )
        -- Reads the counters as they were before this statement.
        select changes.user_id, changes.key_id, changes.day, changes.edge
        from changes
        where changes.free > 0
          and (exists (select from public.usage_counters as counter
                       where counter.user_id = changes.user_id and counter.day = changes.day and counter.reached)
            or exists (select from cfx.key_counters as counter
                       where counter.key_id = changes.key_id and counter.day = changes.day and counter.reached))
    loop
        perform cfx.say_freed(freed.user_id, freed.key_id, freed.day, freed.edge);
    end loop;
end
$$;

-- Applies settlements of the same subject and day, then sets aside what the limit leaves room for. A lease that stands
-- already is answered as it was granted.
--
-- How much: a quarter of this edge's share of what remains, at least one, at most `ask_most` and 32. Edges count as
-- living for 10 s after their last beat; only what living ones hold is worth asking back.
create function cfx.grant_lease(
    ask_edge uuid, ask_lease uuid, ask_user uuid, ask_key uuid, ask_day integer, ask_limit bigint, ask_most bigint,
    leases uuid[], used bigint[], closing boolean[],
    out granted bigint, out counted bigint, out live_edges bigint, out elsewhere bigint
)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    asked     date := date '1970-01-01' + ask_day;
    since     timestamptz := clock_timestamp() - interval '10 s';
    remaining bigint;
begin
    if ask_user is null then
        insert into cfx.key_counters (key_id, day) values (ask_key, asked) on conflict do nothing;
    else
        insert into public.usage_counters (user_id, day) values (ask_user, asked) on conflict do nothing;
    end if;
    if cardinality(leases) > 0 then
        perform cfx.settle_leases(leases, array_fill(ask_user, array[cardinality(leases)]),
            array_fill(ask_key, array[cardinality(leases)]), array_fill(ask_day, array[cardinality(leases)]),
            used, closing);
    end if;
    if ask_user is null then
        select counter.request_count + counter.leased into counted from cfx.key_counters as counter
        where counter.key_id = ask_key and counter.day = asked for update;
    else
        select counter.request_count + counter.leased into counted from public.usage_counters as counter
        where counter.user_id = ask_user and counter.day = asked for update;
    end if;

    select count(*) + 1 into live_edges from cfx.edges as edge where edge.id <> ask_edge and edge.seen_at > since;

    select lease.granted into granted from cfx.quota_leases as lease where lease.id = ask_lease;
    if granted is null then
        remaining := greatest(0, ask_limit - counted);
        granted := least(remaining, greatest(1, least(remaining / (4 * live_edges), greatest(1, ask_most), 32)));
        if granted > 0 then
            insert into cfx.quota_leases (id, edge, user_id, key_id, day, granted)
            values (ask_lease, ask_edge, ask_user, ask_key, asked, granted);
        end if;
        if ask_user is null then
            update cfx.key_counters as counter
            set leased = counter.leased + granted, reached = counter.reached or granted = 0, updated_at = now()
            where counter.key_id = ask_key and counter.day = asked;
        else
            update public.usage_counters as counter
            set leased = counter.leased + granted, reached = counter.reached or granted = 0, updated_at = now()
            where counter.user_id = ask_user and counter.day = asked;
        end if;
        counted := counted + granted;
    end if;

    select coalesce(sum(lease.granted - lease.used), 0) into elsewhere
    from cfx.quota_leases as lease
    join cfx.edges as edge on edge.id = lease.edge and edge.seen_at > since
    where coalesce(lease.user_id, lease.key_id) = coalesce(ask_user, ask_key)
      and lease.day = asked
      and lease.edge <> ask_edge;
end
$$;

-- Changes a day's count beside the leases, once for each `posting`: up for requests admitted while the store was away,
-- down for those that were counted and then never happened. Postings are remembered for two days beyond their own;
-- none is sent again after so long.
create function cfx.post_requests(posting uuid, of_user uuid, of_key uuid, on_day integer, requests bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    posted date := date '1970-01-01' + on_day;
    was    boolean;
begin
    insert into cfx.quota_postings (id, day) values (posting, posted) on conflict do nothing;
    if not found then
        return;
    end if;
    if of_user is null then
        insert into cfx.key_counters (key_id, day) values (of_key, posted) on conflict do nothing;
        select counter.reached into was from cfx.key_counters as counter
        where counter.key_id = of_key and counter.day = posted for update;
        update cfx.key_counters as counter
        set request_count = greatest(0, counter.request_count + requests),
            reached = counter.reached and requests >= 0, updated_at = now()
        where counter.key_id = of_key and counter.day = posted;
    else
        insert into public.usage_counters (user_id, day) values (of_user, posted) on conflict do nothing;
        select counter.reached into was from public.usage_counters as counter
        where counter.user_id = of_user and counter.day = posted for update;
        update public.usage_counters as counter
        set request_count = greatest(0, counter.request_count + requests),
            reached = counter.reached and requests >= 0, updated_at = now()
        where counter.user_id = of_user and counter.day = posted;
    end if;
    if was and requests < 0 then
        perform cfx.say_freed(of_user, of_key, posted, null);
    end if;
    delete from cfx.quota_postings as old where old.day < posted - 2;
end
$$;

-- Says that an edge lives, forgets those not heard of for a day, and yields how many live.
create function cfx.beat(of_edge uuid) returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into cfx.edges as edge (id, seen_at) values (of_edge, clock_timestamp())
    on conflict (id) do update set seen_at = excluded.seen_at;
    delete from cfx.edges as edge where edge.seen_at < now() - interval '1 day';
    return (select count(*) from cfx.edges as edge where edge.seen_at > clock_timestamp() - interval '10 s');
end
$$;

revoke all on all functions in schema cfx from public;
