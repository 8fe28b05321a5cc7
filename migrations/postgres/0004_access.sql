-- Who may read what. Nothing here lets anyone but the owner write.
--
--   anon           nothing
--   authenticated  Supabase's signed-in users: the rows that are theirs by auth.uid()
--   cfx_dashboard  the dashboard: the rows of the user whose session token it presents
--   service_role   reads the three public tables; the edge itself logs in as the owner, which row security lets by
--
-- Row security is not forced, so that the owner is let by. `key_hash` is in nobody's grant. Policies ask for the user
-- in a sub-select, so that he is looked up once a statement and not once a row.

do $$
declare
    closed regclass;
begin
    for closed in
        select class.oid::regclass
        from pg_catalog.pg_class as class
        where class.relkind in ('r', 'p')
          and (class.relnamespace = 'cfx'::regnamespace
               or class.oid in ('public.api_keys'::regclass, 'public.usage_counters'::regclass,
                                'public.request_logs'::regclass))
    loop
        perform cfx.close_table(closed);
    end loop;
end
$$;

-- The user whose session the transaction presents, in `cfx.session`; null where the token is unknown or over, or the
-- account is disabled. It looks the token up itself, with its owner's rights, so that whoever holds the dashboard's
-- password but no token is nobody, whatever claims he sets.
create function cfx.session_user_id() returns uuid
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
    select session.user_id
    from cfx.sessions as session
    join cfx.accounts as account on account.id = session.user_id
    where session.token_hash = sha256(convert_to(nullif(current_setting('cfx.session', true), ''), 'UTF8'))
      and session.expires_at > now()
      and account.disabled_at is null
$$;

revoke all on schema cfx from public;
grant usage on schema cfx to cfx_dashboard;
revoke all on all functions in schema cfx from public;
grant execute on function cfx.session_user_id() to cfx_dashboard;

do $$
begin
    -- True everywhere unless somebody has locked `public` down.
    if not has_schema_privilege('cfx_dashboard', 'public', 'usage') then
        grant usage on schema public to cfx_dashboard;
    end if;
end
$$;

grant select on public.usage_counters, public.request_logs to authenticated, cfx_dashboard, service_role;
grant select (id, user_id, public_id, prefix, label, status, stages, models, daily_requests, created_at, expires_at,
              revoked_at, last_used_at, replaces, retires_at)
    on public.api_keys to authenticated, cfx_dashboard, service_role;

create policy own_rows on public.api_keys for select to authenticated
    using (user_id = (select auth.uid()));
create policy own_rows on public.usage_counters for select to authenticated
    using (user_id = (select auth.uid()));
create policy own_rows on public.request_logs for select to authenticated
    using (user_id = (select auth.uid()));

create policy rows_of_the_session on public.api_keys for select to cfx_dashboard
    using (user_id = (select cfx.session_user_id()));
create policy rows_of_the_session on public.usage_counters for select to cfx_dashboard
    using (user_id = (select cfx.session_user_id()));
create policy rows_of_the_session on public.request_logs for select to cfx_dashboard
    using (user_id = (select cfx.session_user_id()));
