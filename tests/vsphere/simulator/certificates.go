package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"time"
)

type pair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// all of one authority: Good is for localhost and 127.0.0.1, Other too with another key, Elsewhere for another name,
// Expired ended an hour ago.
type all struct {
	CA        string `json:"ca"`
	Good      pair   `json:"good"`
	Other     pair   `json:"other"`
	Elsewhere pair   `json:"elsewhere"`
	Expired   pair   `json:"expired"`
}

func certificates() all {
	now := time.Now()
	key := newKey()
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	leaf := func(name string, until time.Time) pair {
		own := newKey()
		made := &x509.Certificate{
			SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: now.Add(-24 * time.Hour), NotAfter: until,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		if name == "localhost" {
			made.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		signed, err := x509.CreateCertificate(rand.Reader, made, ca, own.Public(), key)
		if err != nil {
			log.Fatal(err)
		}
		secret, err := x509.MarshalPKCS8PrivateKey(own)
		if err != nil {
			log.Fatal(err)
		}
		return pair{text("CERTIFICATE", signed), text("PRIVATE KEY", secret)}
	}
	tomorrow := now.Add(24 * time.Hour)
	return all{
		CA: text("CERTIFICATE", der), Good: leaf("localhost", tomorrow), Other: leaf("localhost", tomorrow),
		Elsewhere: leaf("elsewhere.example", tomorrow), Expired: leaf("localhost", now.Add(-time.Hour)),
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	return key
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		log.Fatal(err)
	}
	return number
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
