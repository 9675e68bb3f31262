//! Address management: subnets, blocks, grants and the local allocator, all pure.
