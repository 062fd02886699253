print("fixgate")
