//! Hosts as namespaces on one machine: topology, faults, traffic, real Docker engines.
