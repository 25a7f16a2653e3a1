"""What a request brings and how it is checked. Requests and responses come as arguments."""
