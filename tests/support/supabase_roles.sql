-- The roles of a Supabase server that matter to a schema, with the attributes they have there. `supabase_postgres`
-- stands for Supabase's `postgres`, which is no superuser, because the tests' own superuser has that name.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('anon',                'nologin noinherit'),
            ('authenticated',       'nologin noinherit'),
            ('service_role',        'nologin noinherit bypassrls'),
            ('authenticator',       'login noinherit'),
            ('supabase_auth_admin', 'login noinherit createrole'),
            ('supabase_postgres',   'login createrole createdb replication bypassrls')
        ) as role (name, attributes)
    loop
        if not exists (select from pg_roles where rolname = wanted.name) then
            begin
                execute format('create role %I %s', wanted.name, wanted.attributes);
            exception when duplicate_object or unique_violation then
                null; -- another test was first
            end;
        end if;
    end loop;
end
$$;

-- Under a lock, because two grants of the same membership at once are an error of the server's.
do $$
declare
    pair record;
begin
    perform pg_advisory_xact_lock(1);
    for pair in
        select * from (values
            ('anon', 'authenticator'), ('authenticated', 'authenticator'), ('service_role', 'authenticator'),
            ('anon', 'supabase_postgres'), ('authenticated', 'supabase_postgres'), ('service_role', 'supabase_postgres')
        ) as pair (role, member)
    loop
        if not exists (
            select from pg_auth_members
            where roleid = pair.role::regrole and member = pair.member::regrole
        ) then
            execute format('grant %I to %I', pair.role, pair.member);
        end if;
    end loop;
end
$$;
