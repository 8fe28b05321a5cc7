//! The way to an upstream: its targets, their addresses, the connections kept to them, one attempt at an exchange.
