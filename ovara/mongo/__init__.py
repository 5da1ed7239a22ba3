"""What Ovara needs beside the official Django backend to keep its data in MongoDB."""
