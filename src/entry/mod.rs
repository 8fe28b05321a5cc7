//! How connections come in: listeners, certificates, the client's address.

pub mod certificates;
pub mod self_signed;
