-- The day's sums over the rows of `request_logs` created on that day, kept in the transaction that writes them, so
-- that today and this month of a user are one read. `answered`: rows whose status is `success`.
alter table usage_counters add column answered      integer not null default 0;
alter table usage_counters add column input_tokens  integer not null default 0;
alter table usage_counters add column output_tokens integer not null default 0;
alter table usage_counters add column cost_nano_usd integer not null default 0;

-- What was written before the sums were kept. A day's first ten characters are its date, in UTC.
insert into usage_counters (user_id, day, answered, input_tokens, output_tokens, cost_nano_usd, updated_at)
select user_id, substr(created_at, 1, 10), sum(status = 'success'), sum(coalesce(input_tokens, 0)),
       sum(coalesce(output_tokens, 0)), sum(cost_nano_usd), strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
from request_logs
where true -- without it the parser takes `on` for a join's
group by 1, 2
on conflict (user_id, day) do update set
    answered = excluded.answered, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, cost_nano_usd = excluded.cost_nano_usd;
