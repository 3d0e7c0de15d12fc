package main

import "context"

func (r *run) service(ctx context.Context)   {}
func (r *run) powerCuts(ctx context.Context) {}
