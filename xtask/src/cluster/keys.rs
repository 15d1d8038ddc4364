//! Keys and certificates: one authority for everything, and a kubeconfig for each user of the API server.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::place::{API_SERVICE, NODE, NODE_ADDRESS, Place, api};

/// A user of the API server: the name of its files, its group if any, its name.
struct User {
    file: &'static str,
    group: Option<&'static str>,
    name: String,
}

/// Says that all of it is there.
const STAMP: &str = "made";

/// Makes what is not there yet.
pub(crate) fn make(place: &Place) -> Result<()> {
    let folder = place.run.join("keys");
    if folder.join(STAMP).is_file() {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut params = subject(None, "wirespan-cluster")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    write(&folder.join("ca.crt"), &authority.pem())?;
    write(&folder.join("ca.key"), &key.serialize_pem())?;
    // Signs the tokens of service accounts.
    let tokens = KeyPair::generate()?;
    write(&folder.join("tokens.key"), &tokens.serialize_pem())?;
    write(&folder.join("tokens.pub"), &tokens.public_key_pem())?;
    let issuer = Issuer::new(params, key);
    server(&folder, &issuer)?;
    for user in users() {
        let mut params = subject(user.group, &user.name)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(&folder, user.file, &params, &issuer)?;
        let user_file = |suffix: &str| folder.join(format!("{}.{suffix}", user.file));
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": api(), "certificate-authority": folder.join("ca.crt")}}],
            "users": [{"name": "u", "user": {"client-certificate": user_file("crt"), "client-key": user_file("key")}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        write(&user_file("kubeconfig"), &config.to_string())?;
    }
    write(&folder.join(STAMP), "")
}

fn users() -> Vec<User> {
    let user = |file, group, name: &str| User { file, group, name: name.to_owned() };
    vec![
        user("admin", Some("system:masters"), "admin"),
        user("api-to-kubelet", Some("system:masters"), "kube-apiserver"),
        user("controller-manager", None, "system:kube-controller-manager"),
        user("scheduler", None, "system:kube-scheduler"),
        user("kube-proxy", None, "system:kube-proxy"),
        user("kubelet", Some("system:nodes"), &format!("system:node:{NODE}")),
    ]
}

/// The API server's own certificate, for every name that it is called by.
fn server(folder: &Path, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let mut names: Vec<String> = ["", ".default", ".default.svc", ".default.svc.cluster.local"]
        .iter()
        .map(|suffix| format!("kubernetes{suffix}"))
        .collect();
    names.extend([NODE_ADDRESS.to_string(), API_SERVICE.to_string()]);
    let mut params = subject(None, "kube-apiserver")?;
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(folder, "apiserver", &params, issuer)
}

fn subject(group: Option<&str>, name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    Ok(params)
}

fn sign(folder: &Path, file: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    write(&folder.join(format!("{file}.crt")), &certificate.pem())?;
    write(&folder.join(format!("{file}.key")), &key.serialize_pem())
}

/// Written for root alone: whoever reads these keys owns the cluster.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}
