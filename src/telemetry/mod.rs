//! Logs and metrics: their names and forms. Knows nothing of what it counts.
