-- Roles and the schema `auth`, in the shape Supabase gives them, each only where it is missing: on Supabase this file
-- changes nothing but to add `cfx_dashboard`.
--
-- Roles belong to the whole server, not to this database. Two databases may make them at the same moment, so losing
-- that race is no error.

do $$
declare
    -- Only a role with this attribute may hand it on. Without it `service_role` still exists, for the grants below.
    may_bypass boolean := (select rolsuper or rolbypassrls from pg_catalog.pg_roles where rolname = current_user);
    wanted record;
begin
    for wanted in
        select * from (values
            ('anon',          'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role',  'nologin noinherit' || case when may_bypass then ' bypassrls' else '' end),
            -- Logs in with a password that the operator sets. A member of nothing: what it reads hangs on the
            -- session's token alone.
            ('cfx_dashboard', 'login noinherit')
        ) as role (name, attributes)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            begin
                execute format('create role %I %s', wanted.name, wanted.attributes);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
end
$$;

do $$
begin
    if not exists (select from pg_catalog.pg_namespace where nspname = 'auth') then
        create schema auth;
        grant usage on schema auth to anon, authenticated, service_role;
    end if;

    if to_regclass('auth.users') is null then
        create table auth.users (id uuid primary key, email text);
        alter table auth.users enable row level security;
    end if;

    if to_regprocedure('auth.uid()') is null then
        -- The user whom PostgREST, or whoever sets the role, says the statement is for. Null: nobody.
        create function auth.uid() returns uuid
            language sql stable
            as $uid$
                select coalesce(
                    nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
                )::uuid
            $uid$;
    end if;
end
$$;
