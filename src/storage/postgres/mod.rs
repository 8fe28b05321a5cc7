//! The real store: one Postgres (15 or later), possibly Supabase, for any number of edges.

pub mod migrations;
pub mod partitions;

/// What the server said, in one line; the library's own text leaves that out.
fn told(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        return format!("{error}{}", source.unwrap_or_default());
    };
    let more = [said.detail(), said.hint()].into_iter().flatten().map(|text| format!(" ({text})"));
    format!("{}{} [{}]", said.message(), more.collect::<String>(), said.code().code())
}

#[cfg(test)]
mod tests;
