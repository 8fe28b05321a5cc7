//! The schema and its migrations on a real server.

mod migrations;
