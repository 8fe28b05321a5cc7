-- The token that a session had before its present one. Where the answer with a new one does not arrive, its user has only the old
-- one: that holds until the new one is used, and a moment longer, and brings the same new one as often as it is shown.

alter table cfx.sessions
    add column renewed_hash  bytea,
    -- What, with the old token itself, the present one was made from. Alone it tells nothing.
    add column renewed_with  bytea,
    add column renewed_until timestamptz;
create unique index sessions_renewed on cfx.sessions (renewed_hash) where renewed_hash is not null;

create or replace function cfx.session_user_id() returns uuid
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    shown bytea := sha256(convert_to(nullif(current_setting('cfx.session', true), ''), 'UTF8'));
begin
    return (
        select session.user_id
        from cfx.sessions as session
        join cfx.accounts as account on account.id = session.user_id
        where (session.token_hash = shown and session.expires_at > now()
               or session.renewed_hash = shown and session.renewed_until > now())
          and account.disabled_at is null
    );
end
$$;
