//! HTTP over the unix socket.
