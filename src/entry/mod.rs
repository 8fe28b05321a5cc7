//! How connections come in: listeners, certificates, the client's address.
