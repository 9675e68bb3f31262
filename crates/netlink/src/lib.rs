//! Blocking rtnetlink and network namespaces: system calls, no decisions.
