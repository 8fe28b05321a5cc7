-- The token that a session had before its present one. Where the answer with a new one does not arrive, its user has only the old
-- one: that holds until the new one is used, and a moment longer, and brings the same new one as often as it is shown.

alter table sessions add column renewed_hash blob;
-- What, with the old token itself, the present one was made from. Alone it tells nothing.
alter table sessions add column renewed_with blob;
alter table sessions add column renewed_until text;
create unique index sessions_renewed on sessions (renewed_hash) where renewed_hash is not null;
