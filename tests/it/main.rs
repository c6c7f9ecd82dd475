//! Black box: the built binary against the local stack and real PostgreSQL. One test binary, so that it links once.

mod house;
