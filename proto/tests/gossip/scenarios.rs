//! The conformance scenarios, each with its number in its name: a topology, a script, what must be
//! true, and by when. What needs a network or a disk that is real is told of real processes, too.

mod forks;
mod honest;
mod hostile;
mod surviving;
