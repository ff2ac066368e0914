//! The conformance scenarios, each with its number in the design: a topology, a script, what must
//! be true, and by when. Numbers that are missing need a network or a disk that is real.

mod forks;
mod honest;
mod hostile;
mod surviving;
