-- As before, but planned once a connection and not once a statement: whose session it is, is asked for every table that a
-- page reads, and a function in plpgsql keeps its plans.
create or replace function cfx.session_user_id() returns uuid
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select session.user_id
        from cfx.sessions as session
        join cfx.accounts as account on account.id = session.user_id
        where session.token_hash = sha256(convert_to(nullif(current_setting('cfx.session', true), ''), 'UTF8'))
          and session.expires_at > now()
          and account.disabled_at is null
    );
end
$$;

-- What a user's overview is made of, in one answer: the days, what today was spent on, and how soon the newest thousand
-- answered requests between two times were answered. In a function, because to plan these is most of what they cost, and a
-- function in plpgsql keeps its plans also behind a pooler that hands out sessions by the transaction. It has no rights of its
-- own: row security holds whoever calls it. Percentiles are the smallest value that so many do not pass.
create function cfx.overview(of_user uuid, first date, today date, since timestamptz, until timestamptz)
    returns table (
        part            text, -- day, share or pace; what is not of it is null
        day             bigint,
        stage           text,
        model           text,
        requests        bigint,
        rows            bigint,
        answered        bigint,
        failed          bigint,
        input_tokens    bigint,
        output_tokens   bigint,
        cost_nano_usd   bigint,
        latency_p50     bigint,
        latency_p95     bigint,
        first_token_p50 bigint,
        first_token_p95 bigint
    )
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select 'day', (counter.day - date '1970-01-01')::bigint, null::text, null::text,
           greatest(counter.request_count, counter.reached_upstream), greatest(counter.rows, counter.answered),
           counter.answered, counter.failed, counter.input_tokens, counter.output_tokens, counter.cost_nano_usd,
           null::bigint, null::bigint, null::bigint, null::bigint
    from public.usage_counters as counter
    where counter.user_id = of_user and counter.day >= first and counter.day <= today
      and (counter.request_count > 0 or counter.rows > 0 or counter.answered > 0)
    order by counter.day;

    return query
    select 'share', null::bigint, split.stage, split.model, split.requests, null::bigint, split.answered, null::bigint,
           split.input_tokens, split.output_tokens, split.cost_nano_usd,
           null::bigint, null::bigint, null::bigint, null::bigint
    from cfx.usage_splits as split
    where split.user_id = of_user and split.day = today
    order by split.cost_nano_usd desc, split.requests desc, split.stage, split.model;

    return query
    select 'pace', null::bigint, null::text, null::text, paced.requests, null::bigint, null::bigint, null::bigint,
           null::bigint, null::bigint, null::bigint,
           paced.latency[1], paced.latency[2], paced.first_token[1], paced.first_token[2]
    from (
        select count(*) as requests,
               percentile_disc(array[0.5, 0.95]) within group (order by newest.latency_ms) as latency,
               percentile_disc(array[0.5, 0.95]) within group (order by newest.ttft_ms) as first_token
        from (
            select log.latency_ms, case when log.stream then log.ttft_ms end as ttft_ms
            from public.request_logs as log
            where log.user_id = of_user and log.created_at >= since and log.created_at < until
              and log.status = 'success'
            order by log.created_at desc
            limit 1000
        ) as newest
    ) as paced;
end
$$;
revoke all on function cfx.overview(uuid, date, date, timestamptz, timestamptz) from public;
grant execute on function cfx.overview(uuid, date, date, timestamptz, timestamptz) to cfx_dashboard;
