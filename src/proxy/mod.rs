//! The request's life, one file a step.
