-- Takes from whoever holds the dashboard's login, and nothing else, what a database gives to every login: to hear what
-- edges tell each other, to speak to them, to stand in their way, and to make things of its own.
--
-- An edge that was started before this migration listens where nothing is said any more.

-- Channels belong to whoever knows their names. These are drawn here and stand in `cfx.settings`, which only the owner
-- reads. They must stand in no function's text, which every login reads. Payloads are as 0005 and 0010 describe them.
insert into cfx.settings (name, value)
select channel, 'cfx_' || replace(gen_random_uuid()::text, '-', '')
from unnest(array['key_channel', 'quota_channel']) as channel;

create function cfx.say(channel text, payload text) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select pg_notify(setting.value, payload) from cfx.settings as setting where setting.name = channel
$$;

create or replace function cfx.notify_keys(changed text[]) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select cfx.say('key_channel', case when cardinality(changed) = 1 then changed[1] else '*' end)
    where cardinality(changed) > 0
$$;

create or replace function cfx.all_keys_changed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform cfx.say('key_channel', '*');
    return null;
end
$$;

create or replace function cfx.accounts_changed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select * from before_change except select * from after_change) then
        perform cfx.say('key_channel', '*');
    end if;
    return null;
end
$$;

create or replace function cfx.say_freed(of_user uuid, of_key uuid, on_day date, by_edge uuid) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select cfx.say('quota_channel', format('freed %s %s %s %s',
        case when of_user is null then 'key' else 'user' end,
        coalesce(of_user, of_key),
        on_day - date '1970-01-01',
        coalesce(by_edge::text, '-')))
$$;

-- As before, but that who comes second waits at a lock on the table, which takes the right to write to it. Advisory locks
-- take none: whoever held this one kept months from being made.
create or replace function cfx.ensure_partitions(first date, months integer) returns integer
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set lock_timeout = '5s'
as $$
declare
    starts date := date_trunc('month', first)::date;
    ends   date;
    name   text;
    made   integer := 0;
begin
    if first is null or months is null or months < 1 or months > 120 then
        raise exception 'cfx.ensure_partitions: % months from %: 1 to 120 months can be made at a time', months, first
            using errcode = 'invalid_parameter_value';
    end if;
    for step in 1..months loop
        ends := (starts + interval '1 month')::date;
        name := 'request_logs_' || to_char(starts, 'YYYY_MM');
        if to_regclass(format('cfx.%I', name)) is null then
            -- Two edges find a month missing at the same moment; the second waits here and finds it made. It looks
            -- into the catalogue itself: what a look-up by name found missing is remembered as missing. To attach the
            -- month takes the same lock, which lets readers and writers go on.
            lock table only public.request_logs in share update exclusive mode;
            perform from pg_class where relnamespace = 'cfx'::regnamespace and relname = name;
            if not found then
                execute format('create table cfx.%I (like public.request_logs including defaults including generated)',
                               name);
                perform cfx.close_table(format('cfx.%I', name)::regclass);
                -- Rows are only added, so that without this no vacuum would come by for the index-only reads.
                execute format('alter table cfx.%I set (autovacuum_vacuum_insert_scale_factor = 0.05)', name);
                execute format('alter table public.request_logs attach partition cfx.%I for values from (%L) to (%L)',
                               name, starts::timestamptz, ends::timestamptz);
                made := made + 1;
            end if;
        end if;
        starts := ends;
    end loop;
    return made;
end
$$;

revoke all on all functions in schema cfx from public;
grant execute on function cfx.session_user_id() to cfx_dashboard;

-- Temporary tables and large objects, which a database lets every login make. In a database that is shared with Supabase
-- others may count on them, and nothing that is there is changed. Large objects are the server's owner's to close.
do $$
declare
    making text;
begin
    if exists (select from pg_catalog.pg_namespace as schema
                where schema.nspname = 'auth' and pg_catalog.pg_get_userbyid(schema.nspowner) <> current_user) then
        raise notice 'cfx: the database is shared: cfx_dashboard may make temporary tables and large objects in it';
        return;
    end if;
    if exists (select from pg_catalog.pg_database
                where datname = current_database() and pg_has_role(current_user, datdba, 'usage')) then
        execute format('revoke temporary on database %I from public', current_database());
    else
        raise notice 'cfx: % does not own the database: cfx_dashboard may make temporary tables in it', current_user;
    end if;
    if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        foreach making in array array['lo_create(oid)', 'lo_creat(integer)', 'lo_from_bytea(oid, bytea)'] loop
            execute format('revoke execute on function pg_catalog.%s from public', making);
        end loop;
    else
        raise notice 'cfx: % is no superuser: cfx_dashboard may make large objects in the database', current_user;
    end if;
end
$$;
