//! Every picture of a validation, on drawn data.
