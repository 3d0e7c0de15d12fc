package store

func child(string) int { return 0 }

func smallDisk(string) int { return 0 }
