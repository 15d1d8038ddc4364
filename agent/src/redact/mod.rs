//! What may leave the process, and in which form.
