//! Docker's network and IPAM driver, and the mirror of networks in its list.
