"""The outbox, the seam between capture and publisher: frames, writer, reader."""
