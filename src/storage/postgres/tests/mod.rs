//! The store on a real server: the schema, its migrations, the ports, and what an operator can get wrong.

mod connecting;
mod listening;
mod migrations;
mod ports;
