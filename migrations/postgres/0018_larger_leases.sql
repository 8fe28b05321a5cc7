-- Applies settlements of the same subject and day, then sets aside what the limit leaves room for. A lease that stands
-- already is answered as it was granted.
--
-- How much: a quarter of this edge's share of what remains, at least one, at most `ask_most`, and 128 or, of a
-- larger limit, a thousandth. Edges count as living for 10 s after their last beat; only what living ones hold is worth
-- asking back.
create or replace function cfx.grant_lease(
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
        granted := least(remaining,
            greatest(1, least(remaining / (4 * live_edges), greatest(1, ask_most), greatest(128, ask_limit / 1000))));
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
