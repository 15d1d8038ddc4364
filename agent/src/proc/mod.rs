//! Who is this: processes, containers, sockets that were there before us.
