//! The agent: wires cores, store, kernel and front doors together.
