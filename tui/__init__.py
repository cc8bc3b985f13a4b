"""What a person looks at. Talks to the gateway's client only; knows no Ray, DuckDB or llama.cpp."""
