//! People: who is let in, and in which role.

use toka_types::facts::{Facts, Role, UserCreated, UserRoleAssigned};
use toka_types::operation::GrantTerms;
use toka_types::{EntityId, GrantId, Name};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};
use crate::limits::MAX_USERS;

impl Asked<'_> {
    pub(super) fn create_user(
        &self,
        name: &Name,
        role: Role,
        terms: &GrantTerms,
    ) -> Result<Vec<Decided>, Denied> {
        let (cut_from, _) = self.grant("user:create")?;
        self.count(
            "user:create",
            "people",
            self.world.users().count() + 1,
            self.most(|l| l.people, MAX_USERS),
        )?;
        let user = EntityId::named(name.as_str());
        if self.world.name_of(user).is_some() {
            let rule = format!("'{name}' is the name of an agent or a person already");
            return Err(self.deny(Code::UserExists, "user:create", rule));
        }
        self.not_above(role, "user:create")?;
        Ok(one(Facts::UserCreated(UserCreated {
            user,
            name: name.clone(),
            role,
            grant: GrantId(self.world.next_grant + 1),
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
        })))
    }

    pub(super) fn assign_role(&self, user: EntityId, role: Role) -> Result<Vec<Decided>, Denied> {
        let asked = "user:assign";
        let (own, _) = self.grant(asked)?;
        let Some(found) = self.world.user(user) else {
            return Err(self.deny(Code::UserUnknown, asked, format!("there is no person {user}")));
        };
        if found.grant == own || !self.world.is_cut_from(found.grant, own) {
            let rule = format!("'{}' does not stand under grant {own}", found.name);
            return Err(self.deny(Code::NotADescendant, asked, rule));
        }
        self.not_above(role, asked)?;
        Ok(one(Facts::UserRoleAssigned(UserRoleAssigned { user, role })))
    }

    /// Nobody gives a role above their own. The operator, and agents, whose grants alone bound them, have none.
    fn not_above(&self, role: Role, asked: &str) -> Result<(), Denied> {
        match self.world.user(self.envelope.origin) {
            Some(giver) if role > giver.role => {
                let rule =
                    format!("the role {role} is above that of '{}', who is {}", giver.name, giver.role);
                Err(self.deny(Code::RoleInsufficient, asked, rule))
            }
            _ => Ok(()),
        }
    }

    /// A person's role bounds what the grant allows.
    pub(super) fn in_role(&self, resource: &str, action: &str) -> Result<(), Denied> {
        match self.world.user(self.envelope.origin) {
            Some(user) if !user.role.may(resource, action) => {
                let asked = format!("{resource}:{action}");
                let rule = format!("'{}' is {}, and that role does not reach {asked}", user.name, user.role);
                Err(self.deny(Code::RoleInsufficient, &asked, rule))
            }
            _ => Ok(()),
        }
    }
}
