"""What is heard of a pair: SIM, STOI, PESQ, DNSMOS and plain acoustics."""
