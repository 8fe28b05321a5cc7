//! The embedded store: one SQLite file, for one edge and the command line beside it.
