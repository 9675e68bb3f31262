//! Membership and signed records, without I/O.
