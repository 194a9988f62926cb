// Package gate is a visitor's request from socket to answer.
//
//	visitor ──▶ framing, path ──▶ room? ──no──▶ origin
//	                               │yes
//	                    pass ◀── in hand? ──▶ ticket ──▶ turn? ──yes──▶ pass, origin
//	                     │          │nothing               │no
//	                     ▼          ▼                      ▼
//	                   origin     line free? ──no──▶ waiting page or JSON
//
// Gate.decide reads like that, one step a line. What a room's line knows is in
// package queue; tokens, paths, pages and the way to the origin are the packages
// below this one; package admin is the operators' side.
package gate
