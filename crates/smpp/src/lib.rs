//! SMPP 3.4 sessions over a codec; knows nothing of Carillon.
