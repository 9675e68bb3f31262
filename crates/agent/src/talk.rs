//! How hosts talk: the questions and answers, what carries them, and who serves them.
//!
//! What must not live here: what is decided with an answer; each kind of it has a module of its own elsewhere.

pub mod peers;
pub mod seal;
pub mod server;
pub mod tls;
pub mod transport;
pub mod wire;
